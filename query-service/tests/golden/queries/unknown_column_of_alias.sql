select p.pod from process_events p
