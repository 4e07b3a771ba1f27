select 1 / (pid - pid) as x from process_events limit 1
