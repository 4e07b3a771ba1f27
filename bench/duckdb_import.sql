-- Writes Tetragon's export to one Parquet file with the columns of process_events that have values, in the lake's order.
-- {input}, {output} and {threads} are filled in. As the importer does, it truncates times to microseconds, builds
-- identities from node, start in boot time and pid, and splits and quotes arguments.
SET threads = {threads};
SET TimeZone = 'UTC';

CREATE MACRO decoded(exec_id) AS decode(from_base64(exec_id));
CREATE MACRO identity(node, id) AS
    left(md5(node), 10) || format('{:016x}{:06x}', split_part(id, ':', 2)::BIGINT, split_part(id, ':', 3)::BIGINT);
CREATE MACRO argv(program, line) AS list_prepend(program, CASE
    WHEN line IS NULL THEN []
    WHEN contains(line, '"') THEN list_transform(regexp_extract_all(line, '"[^"]*"|[^ ]+'), lambda word: trim(word, '"'))
    ELSE string_split(line, ' ') END);
CREATE MACRO quoted(word) AS CASE WHEN regexp_full_match(word, '[\pL\pN_+=./:,@%^-][\pL\pN_+=./:,@%^~-]*') THEN word
    ELSE '''' || replace(word, '''', '''\''''') || '''' END;
CREATE MACRO shown(words) AS array_to_string(list_transform(words, lambda word: quoted(word)), ' ');

COPY (
    WITH lines AS (
        SELECT time, node_name,
            process_exec IS NOT NULL AS is_exec,
            CASE WHEN process_exec IS NOT NULL THEN process_exec.process ELSE process_exit.process END AS process,
            CASE WHEN process_exec IS NOT NULL THEN process_exec.parent ELSE process_exit.parent END AS parent,
            process_exit.status AS status, process_exit.signal AS signal
        FROM read_json('{input}', format = 'newline_delimited', columns = {
            time: 'VARCHAR', node_name: 'VARCHAR',
            process_exec: 'STRUCT(process {process}, parent {parent})',
            process_exit: 'STRUCT(process {process}, parent {parent}, status INTEGER, signal VARCHAR)'})
    )
    SELECT
        time::TIMESTAMPTZ AS time,
        now() AS ingest_time,
        node_name AS node,
        'tetragon' AS source,
        'tetragon:' || node_name AS stream,
        0::INTEGER AS cpu,
        (hash(time, process, parent, status, signal) >> 1)::BIGINT AS seq,
        CASE WHEN is_exec THEN 'exec' ELSE 'exit' END AS activity,
        'observed' AS action,
        1::BIGINT AS count,
        identity(node_name, decoded(process.exec_id)) AS process_uid,
        process.pid AS pid,
        split_part(process.binary, '/', -1) AS process_name,
        process.binary AS process_path,
        argv(process.binary, process.arguments) AS args,
        contains(process.flags, 'truncArgs') AS args_truncated,
        shown(argv(process.binary, process.arguments)) AS cmd_line,
        process.cwd AS cwd,
        process.start_time::TIMESTAMPTZ AS process_start_time,
        process.uid::INTEGER AS euid,
        identity(node_name, decoded(parent.exec_id)) AS parent_process_uid,
        parent.pid AS parent_pid,
        parent.binary AS parent_path,
        argv(parent.binary, parent.arguments) AS parent_args,
        split_part(process.pod.container.id, '://', 2) AS container_id,
        process.pod.container.name AS container_name,
        process.pod.container.image.name AS image,
        split_part(process.pod.container.image.id, '@', 2) AS image_digest,
        process.pod.uid AS pod_uid,
        process.pod.name AS pod_name,
        process.pod.namespace AS namespace,
        process.pod.pod_labels AS pod_labels,
        process.pod.workload_kind AS workload_kind,
        process.pod.workload AS workload_name,
        split_part(process.pod.container.id, '://', 2) AS origin_container_id,
        process.pod.uid AS origin_pod_uid,
        process.pod.name AS origin_pod_name,
        process.pod.namespace AS origin_namespace,
        'imported' AS enrichment_state,
        CASE WHEN NOT is_exec AND signal IS NULL THEN coalesce(status, 0) END::INTEGER AS exit_code,
        CASE signal WHEN 'SIGKILL' THEN 9 END::INTEGER AS exit_signal
    FROM lines
    ORDER BY container_id NULLS FIRST, process_uid NULLS FIRST, time NULLS FIRST
) TO '{output}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3);
