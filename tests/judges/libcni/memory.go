package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// target of the daemon's anonymous memory with so many pods.
const (
	memoryTargetMiB = 32
	memoryPairs     = 20
	memoryParallel  = 8
)

// memory is what the daemon holds at most with n pods in place and some more coming and going.
func (b *benchmark) memory(n int) (map[string]any, error) {
	if err := b.place(n, b.ours); err != nil {
		return nil, fmt.Errorf("placing %d pods: %w", n, err)
	}
	if _, err := b.warm(memoryPairs + b.margin); err != nil {
		return nil, err
	}
	rest, err := anonymousKiB(b.daemon)
	if err != nil {
		return nil, err
	}
	ended, peak := make(chan struct{}), make(chan int, 1)
	go func() {
		most := rest
		for {
			if now, err := anonymousKiB(b.daemon); err == nil {
				most = max(most, now)
			}
			select {
			case <-ended:
				peak <- most
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	_, err = b.block(b.ours, memoryPairs, memoryParallel)
	close(ended)
	mib := func(kib int) float64 { return round(float64(kib) / 1024) }
	return map[string]any{"pods": n, "restMiB": mib(rest), "peakMiB": mib(<-peak), "targetMiB": memoryTargetMiB}, err
}

// anonymousKiB is RssAnon of a process.
func anonymousKiB(pid int) (kib int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(text), "RssAnon:")
	if !found {
		return 0, fmt.Errorf("process %d has no RssAnon", pid)
	}
	_, err = fmt.Sscan(rest, &kib)
	return kib, err
}
