package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"
)

// nodeState is what we read of `tideway status -o json`.
type nodeState struct {
	Pool         struct{ Free int }
	PendingLinks int
	CloudCalls   map[string]int
}

func (b *benchmark) state() (state nodeState, err error) {
	if b.tideway == "" {
		state.Pool.Free = 1 << 30
		return state, nil
	}
	text, err := exec.Command(b.tideway, "status", "-o", "json", "--socket", b.socket).Output()
	if err != nil {
		return state, fmt.Errorf("tideway status: %w", err)
	}
	return state, json.Unmarshal(text, &state)
}

// quiet is how long the cloud must not have been called before a run.
const quiet = 3 * time.Second

// warm waits until the pool can serve all pairs of a run, has nothing left to delete, and the cloud is left alone.
func (b *benchmark) warm(need int) (nodeState, error) {
	calls, since := -1, time.Now()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		state, err := b.state()
		if err != nil || b.tideway == "" {
			return state, err
		}
		if now := sum(state.CloudCalls); now != calls {
			calls, since = now, time.Now()
		}
		if state.Pool.Free >= need && state.PendingLinks == 0 && time.Since(since) > quiet {
			return state, nil
		}
		if time.Now().After(deadline) {
			return state, fmt.Errorf("the pool is not warm: %d free addresses (%d are needed), %d links to delete, %d cloud calls, the last %s ago: take a larger instance type or higher watermarks",
				state.Pool.Free, need, state.PendingLinks, calls, time.Since(since).Round(time.Second))
		}
	}
}

func sum(calls map[string]int) (total int) {
	for _, n := range calls {
		total += n
	}
	return total
}

// floor is what our plugin costs without work: the process alone (VERSION) and with one call to the daemon (STATUS),
// medians in milliseconds.
func (b *benchmark) floor() (process, call float64, err error) {
	ctx := context.Background()
	text, err := inVersion(b.ours.list.Bytes, "1.1.0")
	if err != nil {
		return 0, 0, err
	}
	newest, err := libcni.NetworkConfFromBytes(text)
	if err != nil {
		return 0, 0, err
	}
	var processes, calls []float64
	for range 50 {
		start := time.Now()
		if _, err := b.ours.cni.GetVersionInfo(ctx, pluginType); err != nil {
			return 0, 0, err
		}
		middle := time.Now()
		if err := b.ours.cni.GetStatusNetworkList(ctx, newest); err != nil {
			return 0, 0, err
		}
		processes = append(processes, ms(middle.Sub(start)))
		calls = append(calls, ms(time.Since(middle)))
	}
	b.ours.meter.take()
	return round(quantile(processes, 0.5)), round(quantile(calls, 0.5)), nil
}

// inVersion is a configuration list in another version.
func inVersion(list []byte, version string) ([]byte, error) {
	var conf map[string]any
	if err := json.Unmarshal(list, &conf); err != nil {
		return nil, err
	}
	conf["cniVersion"] = version
	return json.Marshal(conf)
}

func (b *benchmark) settled() (time.Duration, error) {
	start := time.Now()
	for {
		state, err := b.state()
		if err != nil || state.PendingLinks == 0 {
			return time.Since(start), err
		}
		if time.Since(start) > time.Minute {
			return 0, fmt.Errorf("%d links wait for deletion a minute after the last DEL", state.PendingLinks)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// daemonCPU is user plus system time of a process, from /proc/PID/stat in ticks of 10 ms.
func daemonCPU(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if pid == 0 || err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
