package inside

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// codeLaunch is what ssh(1) exits with when it could not do its work.
const codeLaunch = 255

// Options of ssh(1) that a launcher is given, by whether a value follows.
const (
	sshFlags  = "46AaCfGgKkMNnqsTtVvXxYy"
	sshValues = "BbcDEeFIiJLlmOopQRSWw"
)

// parseRsh understands a command line of ssh or rsh: options that concern the
// transport mean nothing here and are passed over.
func parseRsh(args []string) (launchRequest, error) {
	q := launchRequest{Input: true}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && len(args[0]) > 1 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			break
		}
		for i := 1; i < len(arg); i++ {
			c := arg[i : i+1]
			if c == "n" || c == "f" {
				q.Input = false
			}
			if strings.Contains(sshFlags, c) {
				continue
			}
			if !strings.Contains(sshValues, c) {
				return q, fmt.Errorf("option -%s: not one of ssh's", c)
			}
			value := arg[i+1:]
			if value == "" {
				if len(args) == 0 {
					return q, fmt.Errorf("option -%s: a value must follow", c)
				}
				value, args = args[0], args[1:]
			}
			if c == "l" {
				q.User = value
			}
			break
		}
	}
	if len(args) == 0 {
		return q, errors.New("no machine: give its name, as in ore-rsh m1 hostname")
	}
	host := args[0]
	if user, h, ok := strings.Cut(host, "@"); ok {
		q.User, host = user, h
	}
	q.To = host
	// As ssh does: the words are joined, and a shell takes them apart again.
	q.Args = []string{"/bin/sh"}
	if rest := args[1:]; len(rest) > 0 {
		q.Args = []string{"/bin/sh", "-c", strings.Join(rest, " ")}
	}
	return q, nil
}

// rsh is the program ore-rsh. It hands its files to ore-init and waits for the
// exit code; when it is killed, the remote command gets SIGTERM.
func rsh(name string, args []string) int {
	q, err := parseRsh(args)
	var code int
	if err == nil {
		code, err = request(q)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return codeLaunch
	}
	return code
}

func request(q launchRequest) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	c := os.NewFile(uintptr(fd), "ore-init")
	defer c.Close()
	path := os.Getenv(launchVariable)
	if path == "" {
		path = machineLayout().socketPath()
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return 0, fmt.Errorf("connect to ore-init: %w", err)
	}
	b, err := json.Marshal(q)
	if err != nil {
		return 0, err
	}
	if len(b) > maxLaunchRequest {
		return 0, fmt.Errorf("command of %d bytes: the limit is %d", len(b), maxLaunchRequest)
	}
	// Not our own input but a pipe: its reader can be stopped when the remote
	// command ends, without a change to a file that others share.
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	err = control(r, func(in int) error { return unix.Sendmsg(fd, b, unix.UnixRights(in, 1, 2), nil, 0) })
	r.Close()
	if err != nil {
		return 0, fmt.Errorf("ask ore-init: %w", err)
	}
	if q.Input {
		go func() { // ends with the program
			io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{os.Stdin})
			w.Close()
		}()
	} else {
		w.Close()
	}
	buf := make([]byte, maxLaunchRequest)
	n, err := c.Read(buf)
	if err != nil {
		return 0, fmt.Errorf("answer of ore-init: %w", err)
	}
	var reply launchReply
	if err := json.Unmarshal(buf[:n], &reply); err != nil {
		return 0, fmt.Errorf("answer of ore-init: %w", err)
	}
	if reply.Error != "" {
		return 0, errors.New(reply.Error)
	}
	return reply.Code, nil
}
