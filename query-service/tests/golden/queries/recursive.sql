with recursive below(process_uid, pid, depth) as (
  select distinct process_uid, pid, 0 from process_events where pid = 4207
  union all
  select distinct e.process_uid, e.pid, below.depth + 1 from process_events e join below on e.parent_process_uid = below.process_uid where e.activity = 'fork'
)
select distinct pid, depth from below order by pid
