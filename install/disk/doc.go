// Package disk makes of a machine's disks what its job describes: it finds
// them, computes a layout, says why it cannot be, and carries it out.
//
//	Devices -> Look -> Arrange (pure) -> Layout -> Refuse, then Plan (pure) -> Run
//
// # Layout
//
// [Arrange] gives each described disk a device of its own. One that carries this
// layout's mark keeps its part, so that disks may change their names. Then each
// description with a match, and after them each without, gets the first device, in
// the kernel's order, that matches and is free; where none is, one that another
// description has, if that can have another. So none lacks a device as long as there
// is a way to give each one, and what somebody names is nobody else's. Partitions begin and end at multiples of 1 MiB. Sizes are rounded up to that,
// percentages of the whole disk down; all that take the rest share it evenly, and
// the last of them takes what does not divide. The first MiB is left free, as is
// the end of a GPT (33 sectors, UEFI specification 2.10, 5.3.1). An array's
// member loses 1 MiB and what does not fill a chunk of 512 KiB; a group's member
// loses 1 MiB and what does not fill an extent of 4 MiB. On the disks that hold
// /boot, or else /, goes what the firmware needs to start: a BIOS boot partition
// of 1 MiB (GPT) or the active flag (MBR), or an EFI system partition of 256 MiB,
// unless one is described.
//
// All identifiers (of disks, partitions, arrays, file systems) come from the
// description and the machine's identity by hashing: the same machine gets the
// same ones again, and no two machines share any.
//
// # What is never destroyed
//
// A device that is read-only or in use is refused, and so is one that is not
// empty, unless its description says wipe, or its mark says that an earlier run
// of ours began there and never came to an end. Devices that no description
// names are not touched. All this is decided before anything is written.
//
// # Power loss
//
// The mark is one sector at the end of the first MiB, where neither table nor
// GRUB's core image reaches: first it says that work has begun; the last action
// says that all is formatted; and the installer, once the machine is ready, that
// it is installed. A mark counts only together with the partition table that it
// was made for, so that another system installed over ours is never taken for
// it. [Layout.State] therefore says Formatted or Installed only if every action
// before has come to its end, on all disks; else a run starts over.
package disk
