// SPDX-License-Identifier: GPL-2.0
/*
 * What already runs: one record for each process, with the layout of an exec.
 *
 * Its arguments are left to user space, which reads them from procfs: another process's memory can be read only by a
 * sleepable iterator (5.18), which aya 0.14 cannot load. They come last in the record, so they are just appended.
 * These records go to the reader of the iterator, not through the ring, and no filter applies to them. They have
 * numbers of their own, on a CPU that does not exist.
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
	struct program_scratch *scratch;
	struct kt_header *header;
	u32 key = 0, size;

	if (!task || task->pid != task->tgid)
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
	/* When the reader's buffer is full, the kernel comes back with the same task: only a success takes the number. */
	if (!bpf_seq_write(seq, scratch, size))
		next_existing++;
	return 0;
}
