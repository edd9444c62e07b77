//go:build system

package rpm

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ore/rpm/rpmtest"
)

// machineJob runs a command of a package, with a file and a step over the packages.
const machineJob = `environment:
  base: rpm/tiny
  packages: ["Hello_Grid=2:1.5-3"]
  repositories:
    - {uri: "file://%s", key: ./key.asc}
  files: {/etc/motd: {content: "from a file\n"}}
  steps: [{name: greet, run: "hello-grid > /etc/greeting"}]
machines: {count: 1, memory: 128M, hypervisor: uml}
run:
  command: [sh, -c, "hello-grid; cat /etc/motd /etc/greeting /var/lib/hello/state; stat -c '%%a %%u %%g' /var/lib/hello; uname -s"]
`

// A machine starts with a tree of RPM packages and runs a command of one. The
// second run finds the image.
func TestMachine(t *testing.T) {
	key := rpmtest.NewKey(t)
	repository := rpmtest.Repository(t, key, rpmtest.Basis, rpmtest.Hello)
	dir := t.TempDir()
	for name, content := range map[string][]byte{"key.asc": key.Certificate, "job.yaml": fmt.Appendf(nil, machineJob, repository)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "ore")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "ore/cmd/ore").CombinedOutput(); err != nil {
		t.Fatalf("build ore: %v: %s", err, out)
	}
	const want = "hello from an rpm\nfrom a file\nhello from an rpm\nconfigured\n750 0 77\nLinux\n"
	for _, image := range []string{"image", "cached"} {
		c := exec.CommandContext(t.Context(), program, "run", "-f", "job.yaml")
		c.Dir = dir
		c.Env = append(os.Environ(), "ORE_HOME="+filepath.Join(dir, "home"))
		var out, progress bytes.Buffer
		c.Stdout, c.Stderr = &out, &progress
		if err := c.Run(); err != nil {
			t.Fatalf("%v: %s%s", err, out.String(), progress.String())
		}
		if out.String() != want {
			t.Errorf("the machine said %q, want %q", out.String(), want)
		}
		if built := strings.Contains(progress.String(), "\nseal "); built != (image == "image") {
			t.Errorf("%s: the image was built: %v: %s", image, built, progress.String())
		}
	}
}
