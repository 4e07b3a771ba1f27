select pid, parent_path, ancestor_paths, ancestors from process_events where pid in (1, 800, 1200) order by pid
