// SPDX-License-Identifier: GPL-2.0
/*
 * Processes: fork, exec and exit. Threads are not processes.
 *
 * tp_btf/sched_process_fork(struct task_struct *parent, struct task_struct *child)
 * tp_btf/sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
 * tp_btf/sched_process_exit(struct task_struct *p[, bool group_dead since 6.16])
 */
#include "program.h"

#define SIGNAL_GROUP_EXIT 0x00000004

enum kt_process_kind {
	KT_FORK = 1,
	KT_EXEC = 2,
	KT_EXIT = 3,
};

struct kt_fork {
	struct kt_header header;
	struct kt_task task;
};

struct kt_exit {
	struct kt_header header;
	struct kt_task task;
	u32 status; /* as returned by wait(2) */
	u32 reserved;
};

DESCRIBE(enum kt_process_kind, process_kind);
DESCRIBE(struct kt_fork, fork);
DESCRIBE(struct kt_exit, exit);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct program_scratch);
} exec_scratch SEC(".maps");

/* Multi-threaded processes whose exit was sent: of two threads that exit at once, both may seem to be the last. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct kt_ref);
	__type(value, u8);
} exited SEC(".maps");

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct kt_fork *record;

	if (child->pid != child->tgid)
		return 0;
	record = reserve_record(KT_FORK, sizeof(*record), filter_flag(KT_FORK, child));
	if (!record)
		return 0;
	fill_task(&record->task, child, parent);
	submit_record(record);
	return 0;
}

/* Arguments of the new program, as the kernel just placed them on its stack: none of its code has run yet. */
static __always_inline u32 write_args(struct program_scratch *scratch, struct mm_struct *mm)
{
	unsigned long start = mm->arg_start;
	u64 len = mm->arg_end - start;

	if (len > KT_ARGS_MAX) {
		len = KT_ARGS_MAX;
		scratch->record.header.flags |= KT_ARGS_CUT;
	}
	barrier_var(len);
	if (len > KT_ARGS_MAX)
		return 0;
	if (bpf_probe_read_user(scratch->data + (scratch->cursor & KT_DATA_MASK), len, (void *)start)) {
		scratch->record.header.flags |= KT_ARGS_UNREAD;
		return 0;
	}
	return len;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct program_scratch *scratch;
	struct mm_struct *mm = task->mm;
	enum kt_flag filtered;
	u32 key = 0, size;

	scratch = bpf_map_lookup_elem(&exec_scratch, &key);
	if (!scratch)
		return 0;
	filtered = filter_flag(KT_EXEC, task);
	if (scratch->busy) {
		lose_record(KT_EXEC, filtered);
		return 0;
	}
	scratch->busy = 1;
	fill_program(scratch, task);
	scratch->record.header.flags |= filtered;
	if (mm)
		scratch->record.args_len = write_args(scratch, mm);
	else
		scratch->record.header.flags |= KT_ARGS_UNREAD;
	size = sizeof(scratch->record) + (scratch->cursor & KT_DATA_MASK) + scratch->record.args_len;
	if (size <= sizeof(scratch->record) + sizeof(scratch->data))
		output_record(&scratch->record.header, KT_EXEC, size);
	scratch->busy = 0;
	return 0;
}

static __always_inline u32 exit_status(struct task_struct *task, struct signal_struct *signal)
{
	struct task_struct *leader = task->group_leader;

	if (signal->flags & SIGNAL_GROUP_EXIT)
		return signal->group_exit_code;
	return leader ? leader->exit_code : task->exit_code;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	struct kt_ref process = {};
	struct kt_exit *record;
	u8 yes = 1;

	/* `live` counts the threads that have not started to exit; `nr_threads` those that still exist. */
	if (!signal || signal->live.counter != 0)
		return 0;
	if (signal->nr_threads > 1) {
		fill_ref(&process, task);
		if (bpf_map_update_elem(&exited, &process, &yes, BPF_NOEXIST))
			return 0;
	}
	record = reserve_record(KT_EXIT, sizeof(*record), filter_flag(KT_EXIT, task));
	if (!record)
		return 0;
	fill_task(&record->task, task, task->real_parent);
	record->status = exit_status(task, signal);
	submit_record(record);
	return 0;
}
