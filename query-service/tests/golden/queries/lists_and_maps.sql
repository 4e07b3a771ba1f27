select args, pod_labels, pod_labels['app'] as app from process_events where pid = 4207 and activity = 'exec'
