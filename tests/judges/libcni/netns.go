package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// netns is a network namespace pinned at a path, as runtimes keep them.
type netns struct{ path string }

// workDir is a directory for pins and caches. The answer's function unpins what is left and removes it all; a signal that
// ends the process does the same.
func workDir(pattern string) (string, func(), error) {
	dir, err := os.MkdirTemp("", pattern)
	if err != nil {
		return "", nil, err
	}
	clean := func() {
		// After a signal others still write: once more, until nothing is left.
		for range 100 {
			pins, _ := filepath.Glob(filepath.Join(dir, "*"))
			for _, pin := range pins {
				unix.Unmount(pin, unix.MNT_DETACH)
			}
			if os.RemoveAll(dir) == nil {
				return
			}
		}
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGINT, unix.SIGTERM)
	go func() {
		<-ended
		clean()
		os.Exit(1)
	}()
	return dir, clean, nil
}

// newNetns makes one in dir. The thread that unshares is never given back to Go's pool: it ends with the goroutine.
func newNetns(dir, name string) (*netns, error) {
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return nil, err
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			own := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
			err = unix.Mount(own, path, "", unix.MS_BIND, "")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		os.Remove(path)
		return nil, fmt.Errorf("network namespace %s: %w", path, err)
	}
	return &netns{path}, nil
}

// remove takes the pin away, also a second time; the kernel destroys the namespace soon after.
func (n *netns) remove() error {
	if err := unix.Unmount(n.path, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return err
	}
	if err := os.Remove(n.path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// addresses lists what an interface inside has, in CIDR notation.
func (n *netns) addresses(ifname string) ([]string, error) {
	type answer struct {
		list []string
		err  error
	}
	done := make(chan answer)
	go func() {
		runtime.LockOSThread()
		list, err := func() ([]string, error) {
			fd, err := unix.Open(n.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, err
			}
			defer unix.Close(fd)
			if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
				return nil, err
			}
			link, err := net.InterfaceByName(ifname)
			if err != nil {
				return nil, err
			}
			found, err := link.Addrs()
			var list []string
			for _, address := range found {
				list = append(list, address.String())
			}
			return list, err
		}()
		done <- answer{list, err}
	}()
	got := <-done
	return got.list, got.err
}

// linkExists asks the kernel by name, in the namespace of this process; sysfs may show another one.
func linkExists(fd int, name string) bool {
	request, err := unix.NewIfreq(name)
	return err == nil && unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request) == nil
}
