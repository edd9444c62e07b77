package inside

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// readyNumber is that of the last report of a machine: above what an installer
	// counts to, and the same each time, so that one that is repeated is no news.
	readyNumber = 1 << 40
	// readyTime is how long a machine tries to be heard: longer than a switch that
	// looks for loops keeps it off the network.
	readyTime  = 5 * time.Minute
	readyEvery = 2 * time.Second
	askTime    = 10 * time.Second
)

// tellReady is `ore-init ready FILE`, which a machine that installed itself from
// the network runs on its own disk, once it is on the network: it tells home that
// the machine is ready. The file holds where home is, as {"home": URL}, and with
// it a secret; when home has heard, it is removed, and nothing is told again.
func tellReady(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var to struct {
		Home string `json:"home"`
	}
	if err := json.Unmarshal(b, &to); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for until := time.Now().Add(readyTime); ; time.Sleep(readyEvery) {
		err := postReady(to.Home)
		if err == nil {
			return forget(file)
		}
		if errors.Is(err, errUnwanted) || time.Now().After(until) {
			return fmt.Errorf("tell home that this machine is ready: %w", err)
		}
	}
}

// forget removes a file for good: without its folder's sync the secret would be
// back, and told once more, if the power went now (fsync(2)).
func forget(file string) error {
	if err := os.Remove(file); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// errUnwanted is an answer that another try would get, too.
var errUnwanted = errors.New("home does not know this machine any more")

// postReady sends the report, as HTTP/1.0 (RFC 1945): a client of HTTP would
// double this program for one request.
func postReady(home string) error {
	rest, ok := strings.CutPrefix(home, "http://")
	host, path, found := strings.Cut(rest, "/")
	if _, err := netip.ParseAddrPort(host); !ok || !found || err != nil || strings.ContainsAny(path, " \r\n") {
		return fmt.Errorf("%w: %.80q is no address of one", errUnwanted, home)
	}
	c, err := net.DialTimeout("tcp", host, askTime)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(askTime)); err != nil {
		return err
	}
	line := fmt.Sprintf(`{"n":%d,"stage":"ready","event":"end"}`+"\n", int64(readyNumber))
	_, err = fmt.Fprintf(c, "POST /%s HTTP/1.0\r\nHost: %s\r\nContent-Type: application/jsonl\r\nContent-Length: %d\r\n\r\n%s", path, host, len(line), line)
	if err != nil {
		return err
	}
	status, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	words := strings.Fields(status)
	switch {
	case len(words) < 2 || !strings.HasPrefix(words[0], "HTTP/1."):
		return fmt.Errorf("%.40q is no answer of HTTP", status)
	case words[1] == "200":
		return nil
	case words[1][0] == '4':
		return fmt.Errorf("%w (status %s)", errUnwanted, words[1])
	}
	return fmt.Errorf("status %s", words[1])
}
