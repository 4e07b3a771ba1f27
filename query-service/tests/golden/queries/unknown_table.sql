select * from proces_event
