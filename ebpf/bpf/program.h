/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The program of a task: executable, working directory, cgroup path, and the kinds of descriptors 0 and 1. Shared by
 * exec records and records of tasks that were already running.
 */
#pragma once

#include "filter.h"
#include "path.h"

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFIFO 0010000
#define PF_KTHREAD 0x00200000

enum kt_fd_kind {
	KT_FD_UNKNOWN = 0,
	KT_FD_FILE = 1,
	KT_FD_TTY = 2,
	KT_FD_PIPE = 3,
	KT_FD_SOCKET = 4,
	KT_FD_OTHER = 5,
	KT_FD_CLOSED = 6,
};

/* exec and existing. Strings: exe, cwd and cgroup as path components; args, each terminated by NUL. */
struct kt_program {
	struct kt_header header;
	struct kt_task task;
	u64 inode;
	u32 dev;
	u16 exe_len;
	u16 cwd_len;
	u16 cgroup_len;
	u16 reserved;
	u32 args_len;
	enum kt_fd_kind stdin_kind;
	enum kt_fd_kind stdout_kind;
};

/* Value of a per-CPU map, so at most 32 KiB. The strings follow the record without a gap. */
struct program_scratch {
	struct kt_program record;
	u8 data[KT_DATA_LEN + KT_ARGS_MAX];
	u32 busy;
	u32 cursor; /* end of the strings in `data` */
};

/* The file behind a descriptor of `task`; NULL when it is not open. */
static __always_inline struct file *file_of(struct task_struct *task, u32 descriptor)
{
	struct files_struct *files = task->files;
	struct fdtable *table;
	struct file **slots;
	struct file *file = NULL;

	if (!files)
		return NULL;
	table = BPF_CORE_READ(files, fdt);
	if (descriptor >= BPF_CORE_READ(table, max_fds))
		return NULL;
	slots = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), slots + descriptor);
	return file;
}

/* Major numbers of terminals, from Documentation/admin-guide/devices.txt. */
static __always_inline bool is_terminal(dev_t device)
{
	u32 major = device >> 20;

	return major == 4 || major == 5 || (major >= 136 && major <= 143) || major == 188 || major == 204 ||
	       major == 229;
}

static __always_inline enum kt_fd_kind fd_kind(struct task_struct *task, u32 descriptor)
{
	struct inode *inode;
	struct file *file;

	if (!task->files)
		return KT_FD_UNKNOWN;
	file = file_of(task, descriptor);
	if (!file)
		return KT_FD_CLOSED;
	inode = BPF_CORE_READ(file, f_inode);
	switch (BPF_CORE_READ(inode, i_mode) & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
		return KT_FD_FILE;
	case S_IFIFO:
		return KT_FD_PIPE;
	case S_IFSOCK:
		return KT_FD_SOCKET;
	case S_IFCHR:
		return is_terminal(BPF_CORE_READ(inode, i_rdev)) ? KT_FD_TTY : KT_FD_OTHER;
	default:
		return KT_FD_OTHER;
	}
}

static __always_inline void fill_exe(struct program_scratch *scratch, struct file *exe, struct place root,
				     enum kt_flag *flags)
{
	struct walk walk = { .from = place_of(&exe->f_path), .root = root };
	struct inode *inode = BPF_CORE_READ(exe, f_inode);

	scratch->record.inode = BPF_CORE_READ(inode, i_ino);
	scratch->record.dev = BPF_CORE_READ(inode, i_sb, s_dev);
	write_path(scratch->data, &scratch->cursor, &walk);
	scratch->record.exe_len = walk.len;
	if (walk.end == PATH_OUTSIDE)
		*flags |= KT_EXE_OUTSIDE;
	else if (walk.end == PATH_UNNAMED)
		*flags |= KT_EXE_UNNAMED;
	else if (walk.end == PATH_CUT)
		*flags |= KT_EXE_CUT;
	else if (walk.end == PATH_UNREAD)
		*flags |= KT_EXE_UNREAD;
	if (is_deleted(walk.from.dentry))
		*flags |= KT_EXE_DELETED;
}

/* Writes the working directory and returns its length; sets a flag when it is incomplete. */
static __always_inline u16 write_cwd(u8 *data, u32 *cursor, struct fs_struct *fs, struct place root,
				     enum kt_flag *flags)
{
	struct walk walk = { .from = place_of(&fs->pwd), .root = root };

	write_path(data, cursor, &walk);
	if (walk.end == PATH_OUTSIDE || walk.end == PATH_UNNAMED)
		*flags |= KT_CWD_OUTSIDE;
	else if (walk.end == PATH_CUT)
		*flags |= KT_CWD_CUT;
	else if (walk.end == PATH_UNREAD)
		*flags |= KT_CWD_UNREAD;
	return walk.len;
}

/* Fills the record except for the arguments, which come last. */
static __always_inline void fill_program(struct program_scratch *scratch, struct task_struct *task)
{
	struct kt_program *record = &scratch->record;
	enum kt_flag flags = 0;
	struct fs_struct *fs = task->fs;
	struct mm_struct *mm = task->mm;
	struct cgroup *cgroup = cgroup_of(task);
	struct place root = {};

	__builtin_memset(record, 0, sizeof(*record));
	scratch->cursor = 0;
	fill_task(&record->task, task, task->real_parent);
	record->stdin_kind = fd_kind(task, 0);
	record->stdout_kind = fd_kind(task, 1);
	if (fs)
		root = place_of(&fs->root);
	if (mm) {
		struct file *exe = BPF_CORE_READ(mm, exe_file);

		if (exe)
			fill_exe(scratch, exe, root, &flags);
		else
			flags |= KT_EXE_UNREAD;
	} else {
		flags |= task->flags & PF_KTHREAD ? KT_KERNEL_THREAD : KT_EXE_UNREAD;
	}
	if (fs)
		record->cwd_len = write_cwd(scratch->data, &scratch->cursor, fs, root, &flags);
	else
		flags |= KT_CWD_UNREAD;
	if (cgroup)
		record->cgroup_len = write_cgroup(scratch->data, &scratch->cursor, cgroup, &flags);
	record->header.flags = flags;
}
