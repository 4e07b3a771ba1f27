select cmdline from process_events
