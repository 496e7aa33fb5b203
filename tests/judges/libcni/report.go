package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// segments is how many parts of a run the spread of a ratio is taken from.
const segments = 5

// figure is one comparison. Times are milliseconds; spread is the least and the greatest ratio of the run's parts.
type figure struct {
	Name   string     `json:"name"`
	Ours   float64    `json:"ours"`
	Peer   float64    `json:"peer"`
	Ratio  float64    `json:"ratio"`
	Spread [2]float64 `json:"spread"`
	Runs   int        `json:"runs"`
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func round(x float64) float64 { return math.Round(x*1000) / 1000 }

func pick(samples []sample, of func(sample) time.Duration) []float64 {
	out := make([]float64, len(samples))
	for i, s := range samples {
		out[i] = ms(of(s))
	}
	return out
}

// quantile by the nearest rank.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func compare(name string, ours, peer []float64, q float64) figure {
	f := figure{Name: name, Ours: round(quantile(ours, q)), Peer: round(quantile(peer, q)), Runs: len(ours)}
	f.Ratio = round(quantile(ours, q) / quantile(peer, q))
	f.Spread = [2]float64{math.Inf(1), 0}
	for i := range segments {
		part := func(all []float64) []float64 { return all[i*len(all)/segments : (i+1)*len(all)/segments] }
		ratio := round(quantile(part(ours), q) / quantile(part(peer), q))
		if !math.IsNaN(ratio) && !math.IsInf(ratio, 0) {
			f.Spread[0], f.Spread[1] = min(f.Spread[0], ratio), max(f.Spread[1], ratio)
		}
	}
	if math.IsInf(f.Spread[0], 1) {
		f.Spread = [2]float64{f.Ratio, f.Ratio}
	}
	return f
}

func milliseconds(times []time.Duration) []float64 {
	out := make([]float64, len(times))
	for i, d := range times {
		out[i] = ms(d)
	}
	return out
}

func figuresOf(where string, ours, peer []sample, cpuOurs, cpuPeer time.Duration) []figure {
	both := func(name string, of func(sample) time.Duration, q float64) figure {
		return compare(name+", "+where, pick(ours, of), pick(peer, of), q)
	}
	out := []figure{
		both("pair p50", sample.pair, 0.5),
		both("pair p99", sample.pair, 0.99),
		both("ADD p50", func(s sample) time.Duration { return s.add }, 0.5),
		both("ADD p99", func(s sample) time.Duration { return s.add }, 0.99),
		both("DEL p50", func(s sample) time.Duration { return s.del }, 0.5),
		both("DEL p99", func(s sample) time.Duration { return s.del }, 0.99),
	}
	perPair := func(total time.Duration, n int) []float64 { return []float64{ms(total) / float64(max(n, 1))} }
	cpu := compare("CPU per pair (processes and daemon), "+where, perPair(cpuOurs, len(ours)), perPair(cpuPeer, len(peer)), 0.5)
	cpu.Runs = len(ours)
	return append(out, cpu)
}

func machine() map[string]any {
	var name unix.Utsname
	unix.Uname(&name)
	var memory unix.Sysinfo_t
	unix.Sysinfo(&memory)
	model := "unknown"
	if file, err := os.Open("/proc/cpuinfo"); err == nil {
		defer file.Close()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return map[string]any{
		"cpu":       model,
		"cores":     runtime.NumCPU(),
		"kernel":    unix.ByteSliceToString(name.Release[:]),
		"memoryMiB": memory.Totalram * uint64(memory.Unit) >> 20,
	}
}

// report prints the table and writes the file; the first figure (pair p50 of the first run) is the headline. `memory` is the
// daemon's, nil when it was not measured.
func report(figures []figure, facts, memory map[string]any, path string) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WHAT (ms)\tOURS\tPEER\tRATIO\tSPREAD\tRUNS")
	for _, f := range figures {
		fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.3f\t%.3f-%.3f\t%d\n", f.Name, f.Ours, f.Peer, f.Ratio, f.Spread[0], f.Spread[1], f.Runs)
	}
	if memory != nil {
		fmt.Fprintf(table, "RssAnon of the daemon (MiB), %v pods in place, peak\t%.2f\t(target %v)\n", memory["pods"], memory["peakMiB"], memory["targetMiB"])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, where := range slices.Sorted(maps.Keys(facts)) {
		text, _ := json.Marshal(facts[where])
		fmt.Printf("%s: %s\n", where, text)
	}
	if path == "" || len(figures) == 0 {
		return nil
	}
	head := figures[0]
	text, err := json.MarshalIndent(map[string]any{
		"name": "cni: " + head.Name, "ours": head.Ours, "peer": head.Peer, "ratio": head.Ratio,
		"spread": head.Spread, "runs": head.Runs, "machine": machine(), "unit": "ms",
		"peerIs": "ptp + host-local", "figures": figures, "facts": facts, "memory": memory,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
