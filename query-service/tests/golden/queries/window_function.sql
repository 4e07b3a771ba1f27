select pid, activity, row_number() over (partition by pid order by time) as number from process_events where pid > 4206 and pid < 4210 order by pid, number
