select * from zebra
