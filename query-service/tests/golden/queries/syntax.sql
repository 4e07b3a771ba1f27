selec pid from process_events
