package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"
)

// peerConf is what a node without a cloud would use: a point-to-point veth and a file-backed allocator.
const peerConf = `{"cniVersion":"1.0.0","name":"peer","plugins":[{"type":"ptp","mtu":1500,
"ipam":{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":"10.230.0.0/16"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}`

// side is one of the two that are compared.
type side struct {
	name  string
	cni   *libcni.CNIConfig
	list  *libcni.NetworkConfigList
	meter *meter
}

// sample is one ADD+DEL pair.
type sample struct{ add, del, gone time.Duration }

func (s sample) pair() time.Duration { return s.add + s.del }

type benchmark struct {
	dir, tideway, socket string
	daemon               int
	pairs, margin        int
	ours, peer           *side
	serial               int
	probe                int
	placed               []func() error
}

func bench(args []string) (err error) {
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	b := &benchmark{}
	bin := flags.String("bin", "", "directory of tideway-cni")
	conflist := flags.String("conflist", "", "our configuration, as the daemon publishes it")
	peerBin := flags.String("peer-bin", "/usr/lib/cni", "directory of ptp and host-local")
	concurrency := flags.String("concurrency", "1,8", "pairs at a time, a list")
	existing := flags.String("existing", "0,200", "pods of each side already in place, a list in rising order")
	out := flags.String("out", "", "file for the figures (JSON)")
	flags.IntVar(&b.pairs, "pairs", 200, "pairs of each side in each run")
	flags.IntVar(&b.margin, "margin", 8, "free addresses beyond the pairs that a run waits for")
	flags.IntVar(&b.daemon, "daemon-pid", 0, "process of the daemon, for its CPU time")
	flags.StringVar(&b.tideway, "tideway", "", "the program tideway: waits for a warm pool and counts cloud calls")
	flags.StringVar(&b.socket, "socket", "", "the daemon's socket, for tideway")
	flags.Parse(args)
	dir, clean, err := workDir("libcni-bench-")
	if err != nil {
		return err
	}
	defer clean()
	b.dir = dir
	if b.probe, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	defer unix.Close(b.probe)
	text, err := os.ReadFile(*conflist)
	if err != nil {
		return err
	}
	if b.ours, err = b.newSide("ours", *bin, text); err != nil {
		return err
	}
	peer := fmt.Sprintf(peerConf, filepath.Join(b.dir, "host-local"))
	if b.peer, err = b.newSide("peer", *peerBin, []byte(peer)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.clear()) }()
	var figures []figure
	facts := map[string]any{}
	for _, pods := range numbers(*existing) {
		if err := b.place(pods); err != nil {
			return fmt.Errorf("placing pods: %w", err)
		}
		for _, parallel := range numbers(*concurrency) {
			got, err := b.measure(parallel, pods, facts)
			if err != nil {
				return fmt.Errorf("%d at a time, %d pods in place: %w", parallel, pods, err)
			}
			figures = append(figures, got...)
		}
	}
	return report(figures, facts, *out)
}

func numbers(list string) (out []int) {
	for _, text := range strings.Split(list, ",") {
		if n, err := strconv.Atoi(strings.TrimSpace(text)); err == nil {
			out = append(out, n)
		}
	}
	return out
}

func (b *benchmark) newSide(name, bin string, conf []byte) (*side, error) {
	list, err := libcni.NetworkConfFromBytes(conf)
	if err != nil {
		return nil, err
	}
	m := &meter{}
	cache := filepath.Join(b.dir, "cache-"+name)
	return &side{name, libcni.NewCNIConfigWithCacheDir([]string{bin}, cache, m), list, m}, nil
}

func (b *benchmark) container() (*netns, *libcni.RuntimeConf, error) {
	b.serial++
	id := fmt.Sprintf("bench%08d%d", b.serial, os.Getpid())
	ns, err := newNetns(b.dir, id)
	if err != nil {
		return nil, nil, err
	}
	return ns, &libcni.RuntimeConf{
		ContainerID: id, NetNS: ns.path, IfName: "eth0",
		Args: [][2]string{
			{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "bench"}, {"K8S_POD_NAME", id}, {"K8S_POD_UID", id},
		},
	}, nil
}

// place brings the number of standing pods of each side up to n.
func (b *benchmark) place(n int) error {
	ctx := context.Background()
	for len(b.placed) < 2*n {
		for _, s := range []*side{b.ours, b.peer} {
			ns, rt, err := b.container()
			if err != nil {
				return err
			}
			b.placed = append(b.placed, func() error {
				return errors.Join(s.cni.DelNetworkList(ctx, s.list, rt), ns.remove())
			})
			if _, err := s.cni.AddNetworkList(ctx, s.list, rt); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

func (b *benchmark) clear() (err error) {
	for _, remove := range b.placed {
		err = errors.Join(err, remove())
	}
	b.placed = nil
	return err
}

// block runs n pairs of one side, some at a time. Namespaces are made before and removed after the clock runs; one at a
// time, the namespace goes right after its DEL, as with a runtime, and the link's end is waited for.
func (b *benchmark) block(s *side, n, parallel int) ([]sample, error) {
	type job struct {
		ns   *netns
		rt   *libcni.RuntimeConf
		host string
	}
	jobs := make([]job, n)
	for i := range jobs {
		ns, rt, err := b.container()
		if err != nil {
			return nil, err
		}
		jobs[i] = job{ns: ns, rt: rt}
	}
	samples, errs := make([]sample, n), make([]error, n)
	next := make(chan int)
	var group sync.WaitGroup
	for range parallel {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := range next {
				samples[i], jobs[i].host, errs[i] = s.once(jobs[i].rt)
			}
		}()
	}
	for i := range jobs {
		next <- i
	}
	close(next)
	group.Wait()
	ended := time.Now()
	for i, job := range jobs {
		errs[i] = errors.Join(errs[i], job.ns.remove())
	}
	for i, job := range jobs {
		for job.host != "" && linkExists(b.probe, job.host) {
			if time.Since(ended) > 30*time.Second {
				return nil, fmt.Errorf("%s: link %s is still there 30 s after DEL", s.name, job.host)
			}
			time.Sleep(200 * time.Microsecond)
		}
		samples[i].gone = time.Since(ended)
	}
	return samples, errors.Join(errs...)
}

// once is one timed pair.
func (s *side) once(rt *libcni.RuntimeConf) (out sample, host string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	start := time.Now()
	result, err := s.cni.AddNetworkList(ctx, s.list, rt)
	added := time.Now()
	if err != nil {
		return out, "", fmt.Errorf("%s ADD: %w", s.name, err)
	}
	err = s.cni.DelNetworkList(ctx, s.list, rt)
	out = sample{add: added.Sub(start), del: time.Since(added)}
	if err != nil {
		return out, "", fmt.Errorf("%s DEL: %w", s.name, err)
	}
	now, err := types100.NewResultFromResult(result)
	if err == nil {
		for _, link := range now.Interfaces {
			if link.Sandbox == "" {
				host = link.Name
			}
		}
	}
	return out, host, err
}

// measure is one run: both sides in turns, the first changing from turn to turn.
func (b *benchmark) measure(parallel, pods int, facts map[string]any) ([]figure, error) {
	turn := 1
	if parallel > 1 {
		turn = 5 * parallel
	}
	for _, s := range []*side{b.ours, b.peer} {
		if _, err := b.block(s, min(4, b.pairs), parallel); err != nil {
			return nil, err
		}
		s.meter.take()
	}
	before, err := b.warm(b.pairs + b.margin)
	if err != nil {
		return nil, err
	}
	cpuBefore := daemonCPU(b.daemon)
	taken := map[*side][]sample{}
	order := []*side{b.ours, b.peer}
	for left := b.pairs; left > 0; left -= turn {
		for _, s := range order {
			got, err := b.block(s, min(turn, left), parallel)
			if err != nil {
				return nil, err
			}
			taken[s] = append(taken[s], got...)
		}
		order[0], order[1] = order[1], order[0]
	}
	after, err := b.state()
	if err != nil {
		return nil, err
	}
	// What the daemon put off belongs to its bill.
	settled, err := b.settled()
	if err != nil {
		return nil, err
	}
	cpu := map[*side]time.Duration{b.ours: b.ours.meter.take() + daemonCPU(b.daemon) - cpuBefore, b.peer: b.peer.meter.take()}
	where := fmt.Sprintf("%d at a time, %d pods in place", parallel, pods)
	process, call, err := b.floor()
	if err != nil {
		return nil, err
	}
	facts[where] = map[string]any{
		"cloudCalls":            sum(after.CloudCalls) - sum(before.CloudCalls),
		"pendingLinksAtEnd":     after.PendingLinks,
		"secondsUntilNoPending": settled.Seconds(),
		"processMs":             process,
		"processAndCallMs":      call,
	}
	return figuresOf(where, parallel, taken[b.ours], taken[b.peer], cpu[b.ours], cpu[b.peer]), nil
}
