select cmd_line from process_events where array_has(args, '-n') order by time
