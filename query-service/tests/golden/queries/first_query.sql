select time, pod_name, container_id, cmd_line from process_events order by time desc, pid limit 5
