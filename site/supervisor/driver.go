package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"ore/image"
	"ore/job"
	"ore/node"
	"ore/vm"
	"ore/vm/qemu"
	"ore/vm/uml"
)

// Driver returns the hypervisor's driver for what a start asks; it runs in the
// supervisor.
func Driver(b node.Boot) (vm.Hypervisor, error) {
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(b.Program[0], append(append([]string{}, b.Program[1:]...), args...)...)
		cmd.Env = append(os.Environ(), b.Env...)
		return cmd
	}
	if len(b.Program) == 0 {
		return nil, errors.New("start machines: no hypervisor's program was given")
	}
	switch b.Hypervisor {
	case "uml":
		return uml.New(uml.Config{Command: command}), nil
	case "qemu":
		return qemu.New(qemu.Config{Command: command, Accelerator: b.Accelerator, ProbeKernel: b.Kernel}), nil
	}
	return nil, fmt.Errorf("start machines: hypervisor %q: use one of %s", b.Hypervisor, strings.Join(job.Hypervisors, ", "))
}

// newNode makes the node of a supervisor.
func newNode(images, dir string) (*node.Node, error) {
	store, err := image.OpenStore(images)
	if err != nil {
		return nil, err
	}
	return node.New(node.Config{Dir: dir, Store: store, Hypervisor: Driver}), nil
}
