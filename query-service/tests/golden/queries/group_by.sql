select namespace, pod_name, activity, count(*) as events from process_events group by all order by namespace nulls first, pod_name, activity
