select count(*) as n from (select 1) t where exists (select 1 from kernel_events where ret < 0)
