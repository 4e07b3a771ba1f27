select lenght(cmd_line) from process_events
