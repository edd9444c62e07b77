package driver

import (
	"strings"
	"testing"

	"ore"
	"ore/cluster"
)

// What turns a job that leaves the choice from User Mode Linux to QEMU, and which of
// it is said: what nobody sees in what they asked for.
func TestChoose(t *testing.T) {
	for _, c := range []struct {
		summary      string
		asked        string
		cpus, mounts int
		kernel       string
		want, note   string
		err          string
	}{
		{"nothing special", Auto, 1, 0, "", UML, "", ""},
		{"one mount", Auto, 1, 1, "", UML, "", ""},
		{"five mounts", Auto, 1, 5, "", QEMU, "5 folders or files are mounted", ""},
		{"five mounts, where QEMU was asked for", QEMU, 1, 5, "", QEMU, "", ""},
		{"five mounts, where User Mode Linux was asked for", UML, 1, 5, "", UML, "", ""},
		{"two CPUs and five mounts", Auto, 2, 5, "", QEMU, "", ""},
		{"a kernel", Auto, 1, 0, "linux-image-amd64", QEMU, "", ""},
		{"two CPUs that cannot be", UML, 2, 0, "", "", "", "use cpus: 1"},
		{"a kernel that cannot be", UML, 1, 0, "linux-image-amd64", "", "", "leave the kernel out"},
	} {
		got, note, err := Choose(cluster.Reservation{Kernel: c.kernel, Mounts: c.mounts,
			Machines: ore.Machines{Hypervisor: c.asked, Resources: ore.Resources{CPUs: c.cpus}}})
		if got != c.want || (note == "") != (c.note == "") || !strings.Contains(note, c.note) {
			t.Errorf("%s: %s, note %q", c.summary, got, note)
		}
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", c.summary, err)
		}
	}
}
