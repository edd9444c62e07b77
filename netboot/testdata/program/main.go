// Command program plays the one program of a packed machine in package netboot's
// tests: it loads drivers, gets onto the network, and reports home.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ore/install/drivers"
	"ore/netboot"
	"ore/netboot/client"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("packed test: error:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 4 || os.Args[1] != "netbooted" {
		return fmt.Errorf("arguments %q", os.Args)
	}
	b, err := os.ReadFile(os.Args[3])
	if err != nil {
		return err
	}
	var me netboot.Identity
	if err := json.Unmarshal(b, &me); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	drivers.Load(ctx, "/", nil)
	l, err := client.Up(ctx, me.MAC)
	if err != nil {
		return err
	}
	resp, err := http.Post(me.Home, "application/jsonl", strings.NewReader(`{"n":1,"stage":"installer start","event":"start"}`))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s, %w", resp.Status, answer, err)
	}
	disks, _ := filepath.Glob("/sys/class/block/*/device")
	fmt.Printf("packed test: machine %s has %s, recipe %s, disks %d end\n", me.Name, l.Address, me.Recipe, len(disks))
	return nil
}
