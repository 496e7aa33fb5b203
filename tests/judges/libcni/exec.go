package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// meter runs plugins for libcni and adds up the CPU time of the processes, their own children included.
type meter struct {
	version.PluginDecoder
	cpu atomic.Int64
}

func (m *meter) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = environ
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if state := cmd.ProcessState; state != nil {
		if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
			m.cpu.Add(usage.Utime.Nano() + usage.Stime.Nano())
		}
	}
	if err == nil {
		return stdout.Bytes(), nil
	}
	said := &types.Error{}
	if json.Unmarshal(stdout.Bytes(), said) == nil && said.Code != 0 {
		return nil, said
	}
	return nil, fmt.Errorf("%s: %w: %s %s", path, err, stdout.String(), stderr.String())
}

func (m *meter) FindInPath(plugin string, paths []string) (string, error) {
	return invoke.FindInPath(plugin, paths)
}

// take returns the CPU time since the last call.
func (m *meter) take() time.Duration { return time.Duration(m.cpu.Swap(0)) }
