package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

func round(f float64) float64 { return math.Round(f*1000) / 1000 }

// cpu is what each process has used so far, in seconds (clock ticks of 10 ms).
func cpu() []float64 {
	var used []float64
	for _, pid := range strings.FieldsFunc(*pids, func(r rune) bool { return r == ',' }) {
		text, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			log.Fatalf("a measured process has ended: %v", err)
		}
		rest := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		user, _ := strconv.ParseFloat(rest[11], 64)
		system, _ := strconv.ParseFloat(rest[12], 64)
		used = append(used, (user+system)/100)
	}
	return used
}

// since is what they have used from `before` on; always two figures, scheduler and extender.
func since(before []float64) (scheduler, extender float64) {
	both := [2]float64{}
	for i, now := range cpu() {
		both[i] = now - before[i]
	}
	return both[0], both[1]
}

func cpuOver(context.Context) {
	before := cpu()
	time.Sleep(*span)
	scheduler, extender := since(before)
	s := span.Seconds()
	fmt.Printf(`{"scheduler_percent":%.2f,"extender_percent":%.2f}`+"\n", scheduler/s*100, extender/s*100)
}

// follow watches the pods until *count of them are bound, and counts CPU from the first binding that it sees to the last.
func follow(ctx context.Context) {
	c := client()
	ensureNamespace(ctx, c)
	at := map[string]time.Time{}
	used := map[string]int{}
	var first []float64
	note := func(p *v1.Pod) {
		if _, seen := at[p.Name]; seen || p.Spec.NodeName == "" || !strings.HasPrefix(p.Name, *prefix) {
			return
		}
		if len(at) == 0 {
			first = cpu()
		}
		at[p.Name] = time.Now()
		used[p.Spec.NodeName]++
	}
	// The API server closes the watch of a slow client, so this is called again when that happens.
	open := func() watch.Interface {
		l, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			log.Fatal(err)
		}
		for i := range l.Items {
			note(&l.Items[i])
		}
		w, err := c.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: l.ResourceVersion})
		if err != nil {
			log.Fatal(err)
		}
		return w
	}
	w, start := open(), time.Now()
	fmt.Println("watching")
	reopened := 0
	for len(at) < *count {
		event, ok := <-w.ResultChan()
		if !ok {
			if ctx.Err() != nil {
				log.Fatalf("time limit with %d pods bound", len(at))
			}
			reopened++
			w = open()
			continue
		}
		if event.Type == watch.Error {
			log.Fatal(apierrors.FromObject(event.Object))
		}
		if p, ok := event.Object.(*v1.Pod); ok {
			note(p)
		}
	}
	scheduler, extender := since(first)
	var times []time.Time
	for _, t := range at {
		times = append(times, t)
	}
	slices.SortFunc(times, time.Time.Compare)
	n := float64(len(times) - 1)
	seconds := times[len(times)-1].Sub(times[0]).Seconds()
	text, _ := json.Marshal(map[string]any{
		"pods": len(times), "seconds": round(seconds), "rate": round(n / seconds), "total_seconds": round(times[len(times)-1].Sub(start).Seconds()),
		"scheduler_ms": round(scheduler * 1000 / n), "extender_ms": round(extender * 1000 / n),
		"nodes_used": len(used), "most_on_a_node": most(used), "watch_reopened": reopened,
	})
	fmt.Println(string(text))
}

func most(used map[string]int) int {
	most := 0
	for _, n := range used {
		most = max(most, n)
	}
	return most
}
