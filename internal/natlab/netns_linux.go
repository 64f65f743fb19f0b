// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const ownSpace = "/proc/thread-self/ns/net"

// netns is a network namespace without a name. The kernel ends it with the
// last of its files, sockets and processes.
type netns struct{ fd int }

// newNetns makes a namespace with nothing but a loopback interface.
func newNetns() (*netns, error) {
	n := &netns{fd: -1}
	err := away(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() error {
		var err error
		n.fd, err = unix.Open(ownSpace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("natlab: new namespace: %w", err)
	}
	if err := n.ip("link set lo up"); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *netns) close() {
	unix.Close(n.fd)
	n.fd = -1
}

// path names the namespace to other processes of this user.
func (n *netns) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.fd) }

// do runs f on a thread that is in the namespace.
func (n *netns) do(f func() error) error {
	return away(func() error { return unix.Setns(n.fd, unix.CLONE_NEWNET) }, f)
}

// away moves the calling goroutine's thread by move, runs f and moves it back.
// The runtime makes new threads from a clean one while the thread is locked, so
// nothing else gets there.
func away(move, f func() error) error {
	runtime.LockOSThread()
	home, err := unix.Open(ownSpace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer unix.Close(home)
	if err := move(); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		if err := unix.Setns(home, unix.CLONE_NEWNET); err != nil {
			// A thread in the wrong place would serve other goroutines.
			panic(fmt.Sprintf("natlab: back from a namespace: %v", err))
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

// run starts a program in the namespace and waits for it.
func (n *netns) run(stdin, name string, args ...string) error {
	path, err := tool(name)
	if err != nil {
		return err
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.do(cmd.Run); err != nil { // a child starts where its parent thread is
		return fmt.Errorf("natlab: %s: %w: %s", name, err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}

// ip runs lines of ip(8) commands.
func (n *netns) ip(lines ...string) error {
	return n.run(strings.Join(lines, "\n")+"\n", "ip", "-batch", "-")
}

// sysctl sets kernel parameters, given as path, value, path, value, …
func (n *netns) sysctl(pairs ...string) error {
	return n.do(func() error {
		for i := 0; i < len(pairs); i += 2 {
			if err := os.WriteFile("/proc/sys/net/"+pairs[i], []byte(pairs[i+1]), 0); err != nil {
				return fmt.Errorf("natlab: sysctl: %w", err)
			}
		}
		return nil
	})
}

// unfiltered lets a bridge carry packets past nftables, as a switch does. Where
// the module br_netfilter is loaded they would pass the rules for what is
// forwarded, which know of no way from the LAN to itself.
func (n *netns) unfiltered() error {
	return n.do(func() error {
		for _, v := range []string{"iptables", "ip6tables"} {
			err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+v, []byte("0"), 0)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("natlab: sysctl: %w", err)
			}
		}
		return nil
	})
}

// number reads a kernel parameter.
func (n *netns) number(path string) (v int, err error) {
	err = n.do(func() error {
		b, err := os.ReadFile("/proc/sys/net/" + path)
		if err != nil {
			return fmt.Errorf("natlab: sysctl: %w", err)
		}
		_, err = fmt.Sscan(string(b), &v)
		return err
	})
	return v, err
}

// tun makes a TUN device in the namespace. It is gone when the file is closed.
func (n *netns) tun(name string) (*os.File, error) {
	var fd int
	err := n.do(func() error {
		var err error
		fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		ifr, err := unix.NewIfreq(name)
		if err == nil {
			ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		}
		if err != nil {
			unix.Close(fd)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("natlab: /dev/net/tun: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// flush makes the namespace's conntrack forget everything: the delete message
// of ctnetlink without a tuple.
func (n *netns) flush() error {
	const (
		size           = unix.SizeofNlMsghdr + 4 // nfgenmsg
		conntrackGroup = 1                       // NFNL_SUBSYS_CTNETLINK
		deleteMessage  = 2                       // IPCTNL_MSG_CT_DELETE
	)
	err := n.do(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		m := make([]byte, size) // header: length, type, flags, sequence, port; then family, version, resource
		binary.NativeEndian.PutUint32(m, size)
		binary.NativeEndian.PutUint16(m[4:], conntrackGroup<<8|deleteMessage)
		binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
		if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return err
		}
		answer := make([]byte, 512)
		k, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil {
			return err
		}
		if k < unix.SizeofNlMsghdr+4 {
			return errors.New("short answer")
		}
		if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
			return syscall.Errno(-code)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("natlab: flush conntrack: %w", err)
	}
	return nil
}

// command prepares a program that will run in the namespace.
func (n *netns) command(cmd *exec.Cmd) {
	nsenter, err := tool("nsenter")
	if err != nil {
		cmd.Err = err
		return
	}
	cmd.Args = append([]string{nsenter, "--net=" + n.path(), "--", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = nsenter
	// Nobody else ends it when this process is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// tool finds a program, where PATH lacks the system's own as well.
func tool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", err
}

// obstacle tries all that a lab needs, once, and returns what is in the way.
var obstacle = sync.OnceValue(func() string {
	for _, p := range [][2]string{{"ip", "iproute2"}, {"nft", "nftables"}, {"nsenter", "util-linux"}} {
		if _, err := tool(p[0]); err != nil {
			return fmt.Sprintf("there is no %s command (Debian package %s)", p[0], p[1])
		}
	}
	if os.Geteuid() != 0 {
		return "only root may make network namespaces"
	}
	n, err := newNetns()
	if err != nil {
		return err.Error()
	}
	defer n.close()
	f, err := n.tun("try0")
	if err != nil {
		return err.Error()
	}
	f.Close()
	if err := n.run(rules(&Kernel{Random: true}, outside(1, 1), NoIPv6, true, true), "nft", "-f", "-"); err != nil {
		return err.Error()
	}
	if err := n.flush(); err != nil {
		return err.Error()
	}
	if _, err := n.number("ipv6/conf/all/accept_dad"); err != nil {
		return "the kernel has no IPv6: " + err.Error()
	}
	return ""
})
