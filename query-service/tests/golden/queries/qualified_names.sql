select count(*) as n from acme.history.process_events p join history.kernel_events k on p.process_uid = k.process_uid
