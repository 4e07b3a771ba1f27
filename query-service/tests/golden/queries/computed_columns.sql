select event_id, exec_id, ancestors from process_events where pid = 4209 order by seq
