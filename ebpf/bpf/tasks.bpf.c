// SPDX-License-Identifier: GPL-2.0
/*
 * Processes that are already running: one record each, with the layout of an exec record.
 *
 * User space reads their arguments from procfs and appends them, since arguments come last in a record: only a
 * sleepable iterator (5.18), which aya 0.14 cannot load, could read another process's memory. These records go to the
 * reader of the iterator, not through the ring, and the filter does not apply to them. They have their own sequence
 * numbers, under the CPU number KT_EXISTING_CPU.
 */
#include "program.h"

enum kt_tasks_kind {
	KT_EXISTING = 4,
};

DESCRIBE(enum kt_tasks_kind, tasks_kind);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct program_scratch);
} task_scratch SEC(".maps");

u64 next_existing;

SEC("iter/task")
int existing_tasks(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;
	struct signal_struct *signal;
	struct program_scratch *scratch;
	struct kt_header *header;
	u32 key = 0, size;

	if (!task || task->pid != task->tgid)
		return 0;
	/* A process that has ended stays until its parent waits for it. Its first thread may end long before the others. */
	signal = task->signal;
	if (signal && signal->live.counter == 0)
		return 0;
	scratch = bpf_map_lookup_elem(&task_scratch, &key);
	if (!scratch)
		return 0;
	fill_program(scratch, task);
	size = sizeof(scratch->record) + (scratch->cursor & KT_DATA_MASK);
	header = &scratch->record.header;
	header->kind = KT_EXISTING;
	header->size = size;
	header->cpu = KT_EXISTING_CPU;
	header->boot_ns = bpf_ktime_get_boot_ns();
	header->seq = next_existing;
	if (!(header->flags & KT_KERNEL_THREAD))
		header->flags |= KT_ARGS_UNREAD;
	/* When the reader's buffer is full, the kernel repeats the task: only a successful write takes the number. */
	if (!bpf_seq_write(seq, scratch, size))
		next_existing++;
	return 0;
}
