select f.rule_name, k.activity, k.ns_type
from (select rule_name, unnest(event_refs) as ref from findings) f
join kernel_events k on f.ref = 'kernel_events/' || k.event_id
order by f.rule_name
