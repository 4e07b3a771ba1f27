select cast(cmd_line as int) as x from process_events where pid = 1
