package boot

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestJoin reads back what is joined, as the kernel does: one archive behind the
// other.
func TestJoin(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var early bytes.Buffer
	if err := WriteCPIO(&early, Entry{Path: "init", Mode: modeExec, Data: []byte("process 1")}); err != nil {
		t.Fatal(err)
	}
	layer := bytes.Repeat([]byte("layer"), 5001) // not a multiple of four
	var out bytes.Buffer
	err := join(t.Context(), &out, []packedPart{
		{Part{Name: "early", Size: int64(early.Len())}, "", file("early", early.Bytes())},
		{Part{Name: "layer", Size: int64(len(layer))}, packedLayer + "0", file("layer", layer)},
		{Part{Name: "program", Size: 3}, packedProgram, file("program", []byte("ore"))},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	r := bufio.NewReader(&out)
	for {
		if _, err := r.Peek(1); err != nil {
			break
		}
		list, err := ReadCPIO(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			got[e.Path] = string(e.Data)
		}
	}
	for name, want := range map[string]string{"init": "process 1", "ore/packed/layer0": string(layer), "ore/packed/program": "ore", "ore/packed": ""} {
		if have, ok := got[name]; !ok || have != want {
			t.Errorf("%s: %d bytes, want %d", name, len(have), len(want))
		}
	}
}

// TestCarried says of some modules whether a machine that installs itself may
// need them.
func TestCarried(t *testing.T) {
	for file, want := range map[string]bool{
		"kernel/drivers/nvme/host/nvme.ko": true, "kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko.xz": true, "kernel/drivers/net/virtio_net.ko": true,
		"kernel/fs/xfs/xfs.ko": true, "kernel/drivers/md/raid456.ko": true, "kernel/drivers/usb/storage/uas.ko": true,
		"kernel/sound/core/snd.ko": false, "kernel/drivers/gpu/drm/amd/amdgpu/amdgpu.ko": false, "kernel/drivers/net/wireless/ath/ath.ko": false, "kernel/fs/nfs/nfs.ko": false,
	} {
		if got := isCarried(file); got != want {
			t.Errorf("%s: %v", file, got)
		}
	}
}
