package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// row is one run, or a fact beside them (those have no Case).
type row struct {
	Case        string         `json:"case"`
	Nodes       int            `json:"nodes"`
	Round       int            `json:"round"`
	Rate        float64        `json:"rate"`
	SchedulerMs float64        `json:"scheduler_ms"`
	ExtenderMs  float64        `json:"extender_ms"`
	AlgorithmMs float64        `json:"algorithm_ms"`
	Fact        string         `json:"fact"`
	Value       map[string]any `json:"value"`
}

// names of the cases, in the order of the table.
var cases = []struct{ key, name string }{
	{"bare", "bare"}, {"sampled", "bare, percentageOfNodesToScore for 100 nodes"}, {"noop", "do-nothing, all names"},
	{"noop64", "do-nothing, K = 64"}, {"default", "ours, default"}, {"strict", "ours, strict"},
}

// interval is a mean with its 90 % interval.
type interval struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

func (i interval) String() string { return fmt.Sprintf("%.2f (%.2f-%.2f)", i.Mean, i.Low, i.High) }

// student is the 95 % quantile of the t distribution, by degrees of freedom from 1 on.
var student = []float64{6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761}

func spread(values []float64) interval {
	n := float64(len(values))
	mean, squares := 0.0, 0.0
	for _, v := range values {
		mean += v / n
	}
	for _, v := range values {
		squares += (v - mean) * (v - mean)
	}
	if len(values) < 2 {
		return interval{mean, mean, mean} // one pair has no interval; `runs` says so
	}
	t := 1.7
	if len(values)-2 < len(student) {
		t = student[len(values)-2]
	}
	half := t * math.Sqrt(squares/(n-1)/n)
	return interval{mean, mean - half, mean + half}
}

// ratios of pairs: the mean of their logarithms, so that a ratio and its inverse weigh the same.
func ratios(pairs [][2]float64) interval {
	var logs []float64
	for _, p := range pairs {
		logs = append(logs, math.Log(p[0]/p[1]))
	}
	i := spread(logs)
	return interval{round(math.Exp(i.Mean)), round(math.Exp(i.Low)), round(math.Exp(i.High))}
}

func differences(pairs [][2]float64) interval {
	var all []float64
	for _, p := range pairs {
		all = append(all, p[0]-p[1])
	}
	i := spread(all)
	return interval{round(i.Mean), round(i.Low), round(i.High)}
}

func mean(rows map[int]row, of func(row) float64) float64 {
	sum := 0.0
	for _, r := range rows {
		sum += of(r)
	}
	return round(sum / float64(max(len(rows), 1)))
}

// figure is one case at one size against bare, pair by pair.
type figure struct {
	Name       string     `json:"name"`
	Nodes      int        `json:"nodes"`
	Ours       float64    `json:"ours"`
	Peer       float64    `json:"peer"`
	Ratio      float64    `json:"ratio"`
	Spread     [2]float64 `json:"spread"`
	Runs       int        `json:"runs"`
	CPURatio   interval   `json:"cpu_ratio"`
	Scheduler  interval   `json:"scheduler_cpu_ratio"`
	AddedMs    interval   `json:"added_ms"`
	CPUMs      [2]float64 `json:"cpu_ms_scheduler_extender"`
	Algorithm  float64    `json:"algorithm_ms"`
	comparison interval
}

func compare(name string, nodes int, ours, bare map[int]row) figure {
	pairs := func(of func(row) float64) (out [][2]float64) {
		for round, r := range ours {
			if peer, ok := bare[round]; ok && of(peer) > 0 && of(r) > 0 {
				out = append(out, [2]float64{of(r), of(peer)})
			}
		}
		return out
	}
	rate := ratios(pairs(func(r row) float64 { return r.Rate }))
	return figure{
		Name: name, Nodes: nodes, Runs: len(ours),
		Ours:  mean(ours, func(r row) float64 { return r.Rate }),
		Peer:  mean(bare, func(r row) float64 { return r.Rate }),
		Ratio: rate.Mean, Spread: [2]float64{rate.Low, rate.High}, comparison: rate,
		CPURatio:  ratios(pairs(func(r row) float64 { return r.SchedulerMs + r.ExtenderMs })),
		Scheduler: ratios(pairs(func(r row) float64 { return r.SchedulerMs })),
		AddedMs:   differences(pairs(func(r row) float64 { return r.AlgorithmMs })),
		CPUMs:     [2]float64{mean(ours, func(r row) float64 { return r.SchedulerMs }), mean(ours, func(r row) float64 { return r.ExtenderMs })},
		Algorithm: mean(ours, func(r row) float64 { return r.AlgorithmMs }),
	}
}

// report prints the table and writes the file. The headline is our default mode at the largest size.
func report(context.Context) {
	file, err := os.Open(*rows)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	byCase, facts := map[int]map[string]map[int]row{}, []row{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var r row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			log.Fatalf("%v in %s", err, lines.Text())
		}
		if r.Case == "" {
			facts = append(facts, r)
			continue
		}
		if byCase[r.Nodes] == nil {
			byCase[r.Nodes] = map[string]map[int]row{}
		}
		if byCase[r.Nodes][r.Case] == nil {
			byCase[r.Nodes][r.Case] = map[int]row{}
		}
		byCase[r.Nodes][r.Case][r.Round] = r
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODES\tCASE\tRUNS\tPODS/S\tRATE ×\tCPU ms SCHED+EXT\tCPU ×\tSCHED CPU ×\tALG ms\tADDED ms")
	var all []figure
	for _, nodes := range slices.Sorted(maps.Keys(byCase)) {
		bare := byCase[nodes]["bare"]
		for _, c := range cases {
			ours := byCase[nodes][c.key]
			if len(ours) == 0 {
				continue
			}
			f := compare(c.name, nodes, ours, bare)
			all = append(all, f)
			fmt.Fprintf(table, "%d\t%s\t%d\t%.0f\t%v\t%.2f + %.2f\t%v\t%v\t%.2f\t%v\n", nodes, f.Name, f.Runs, f.Ours, f.comparison, f.CPUMs[0], f.CPUMs[1], f.CPURatio, f.Scheduler, f.Algorithm, f.AddedMs)
		}
	}
	table.Flush()
	for _, f := range facts {
		text, _ := json.Marshal(f.Value)
		fmt.Printf("%s (%d nodes): %s\n", f.Fact, f.Nodes, text)
	}
	write(all, facts)
}

func write(all []figure, facts []row) {
	if *out == "" || len(all) == 0 {
		return
	}
	head := all[0]
	for _, f := range all {
		if f.Name == "ours, default" && f.Nodes >= head.Nodes {
			head = f
		}
	}
	beside := []map[string]any{}
	for _, f := range facts {
		beside = append(beside, map[string]any{"fact": f.Fact, "nodes": f.Nodes, "value": f.Value})
	}
	text, err := json.MarshalIndent(map[string]any{
		"name": fmt.Sprintf("extender: %s at %d nodes, pods bound a second", head.Name, head.Nodes), "unit": "pods/s", "peerIs": "the scheduler alone",
		"ours": head.Ours, "peer": head.Peer, "ratio": head.Ratio, "spread": head.Spread, "runs": head.Runs, "machine": machine(),
		"cpu_ratio": head.CPURatio, "scheduler_cpu_ratio": head.Scheduler, "added_ms": head.AddedMs, "figures": all, "facts": beside,
	}, "", "  ")
	if err != nil {
		log.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(*out, append(text, '\n'), 0o644); err != nil {
		log.Fatal(err)
	}
	fmt.Fprintln(os.Stderr, "bench: written to", *out)
}

func machine() map[string]any {
	var name unix.Utsname
	unix.Uname(&name)
	model := "unknown"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return map[string]any{"cpu": model, "cores": runtime.NumCPU(), "kernel": unix.ByteSliceToString(name.Release[:])}
}
