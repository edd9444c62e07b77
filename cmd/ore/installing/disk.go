package installing

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ore"
	"ore/cmd/ore/view"
)

func newDisk(a *Shell) *cobra.Command {
	var file, firmware string
	c := &cobra.Command{
		Use: "disk -f FILE", Short: "Make the image of a whole disk, for machines that are to install from one",
		Long: `Make the image of the whole disk of a machine that is to become what a job file says,
and nothing else: partitions, file systems and what is in them. Machines of 'ore run
--root disk --install-from disk' with a disk of the same size write it as it is; with
--firmware, so do those that 'assign --install-from disk' is for. Where it is not made
before, the first of them makes it. It is an image like others: 'ore images' lists and
removes it, and caches elsewhere are not asked for it.`,
		Example: "  ore install disk -f node.yaml\n  ore install disk -f node.yaml --firmware bios",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case file == "":
				return a.Usage(errors.New("-f: name the job file that says what the machines are to be"))
			case firmware != "" && firmware != string(ore.BIOS) && firmware != string(ore.UEFI):
				return a.Usage(fmt.Errorf("--firmware %q: use bios or uefi", firmware))
			}
			return a.disk(c.Context(), file, ore.Firmware(firmware))
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "job `file`, - for standard input")
	c.Flags().StringVar(&firmware, "firmware", "", "bios or uefi: for machines that boot from the network with it")
	return c
}

// disk makes one, or finds it made.
func (a *Shell) disk(ctx context.Context, file string, f ore.Firmware) (err error) {
	j, err := a.Job(file)
	if err != nil {
		return err
	}
	dir, err := (&place{}).folder()
	if err != nil {
		return err
	}
	on, err := a.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, on.Close()) }()
	img, made, err := on.Disk(ctx, j, f)
	switch {
	case err != nil:
		return err
	case *a.JSON:
		return a.print(img)
	case made:
		a.say("made   disk %s, %s", img.Key, view.Bytes(img.Size()))
	default:
		a.say("found  disk %s, %s", img.Key, view.Bytes(img.Size()))
	}
	return nil
}
