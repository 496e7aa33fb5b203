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
	name   string
	cni    *libcni.CNIConfig
	list   *libcni.NetworkConfigList
	meter  *meter
	placed int
}

// sample is one ADD+DEL pair.
type sample struct{ add, del time.Duration }

func (s sample) pair() time.Duration { return s.add + s.del }

type benchmark struct {
	dir, tideway, socket, ledger string
	daemon                       int
	pairs, margin                int
	ours, peer                   *side
	serial                       int
	probe                        int
	placed                       []func() error
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
	memory := flags.Int("memory-pods", 250, "pods in place when the daemon's memory is measured; 0: not at all")
	flags.StringVar(&b.tideway, "tideway", "", "the program tideway: waits for a warm pool and counts pending links")
	flags.StringVar(&b.ledger, "ledger", "", "command that prints the lab's ledger as JSON: proves that no run called the cloud")
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
		if err := b.place(pods, b.ours, b.peer); err != nil {
			return fmt.Errorf("placing pods: %w", err)
		}
		for _, parallel := range numbers(*concurrency) {
			where := fmt.Sprintf("%d at a time, %d pods in place", parallel, pods)
			got, fact, err := b.run(parallel, where)
			if err != nil {
				return fmt.Errorf("%s: %w", where, err)
			}
			figures, facts[where] = append(figures, got...), fact
		}
	}
	var held map[string]any
	if *memory > 0 && b.daemon > 0 {
		if held, err = b.memory(*memory); err != nil {
			return fmt.Errorf("memory: %w", err)
		}
	}
	return report(figures, facts, held, *out)
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
	return &side{name: name, cni: libcni.NewCNIConfigWithCacheDir([]string{bin}, cache, m), list: list, meter: m}, nil
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

// place brings the number of standing pods of the sides up to n.
func (b *benchmark) place(n int, sides ...*side) error {
	ctx := context.Background()
	for _, s := range sides {
		for ; s.placed < n; s.placed++ {
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
	for _, job := range jobs {
		for job.host != "" && linkExists(b.probe, job.host) {
			if time.Since(ended) > 30*time.Second {
				return nil, fmt.Errorf("%s: link %s is still there 30 s after DEL", s.name, job.host)
			}
			time.Sleep(200 * time.Microsecond)
		}
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

// run measures until no idle look at the cloud disturbs.
func (b *benchmark) run(parallel int, where string) (figures []figure, fact map[string]any, err error) {
	for range 3 {
		figures, fact, err = b.measure(parallel, where)
		if !errors.Is(err, errLooked) {
			break
		}
		fmt.Fprintf(os.Stderr, "bench: %s: %v; once more\n", where, err)
	}
	return figures, fact, err
}

// measure is one run: both sides in turns, the first changing from turn to turn, and then what DEL has put off.
func (b *benchmark) measure(parallel int, where string) ([]figure, map[string]any, error) {
	turn := 1
	if parallel > 1 {
		turn = 5 * parallel
	}
	order := []*side{b.ours, b.peer}
	for _, s := range order {
		if _, err := b.block(s, min(4, b.pairs), parallel); err != nil {
			return nil, nil, err
		}
		s.meter.take()
	}
	if _, err := b.warm(b.pairs + b.margin); err != nil {
		return nil, nil, err
	}
	before, err := b.cloudCalls()
	if err != nil {
		return nil, nil, err
	}
	cpuBefore := daemonCPU(b.daemon)
	taken := map[*side][]sample{}
	for left := b.pairs; left > 0; left -= turn {
		for _, s := range order {
			got, err := b.block(s, min(turn, left), parallel)
			if err != nil {
				return nil, nil, err
			}
			taken[s] = append(taken[s], got...)
		}
		order[0], order[1] = order[1], order[0]
	}
	after, err := b.cloudCalls()
	if err != nil {
		return nil, nil, err
	}
	if err := untouched(before, after); err != nil {
		return nil, nil, err
	}
	// What the daemon put off belongs to its bill.
	if _, err := b.settled(); err != nil {
		return nil, nil, err
	}
	cpu := map[*side]time.Duration{b.ours: b.ours.meter.take() + daemonCPU(b.daemon) - cpuBefore, b.peer: b.peer.meter.take()}
	figures := figuresOf(where, taken[b.ours], taken[b.peer], cpu[b.ours], cpu[b.peer])
	links, fact, err := b.linksGo(parallel, where)
	if err != nil {
		return nil, nil, err
	}
	process, call, err := b.floor()
	if err != nil {
		return nil, nil, err
	}
	fact["cloudCalls"], fact["processMs"], fact["processAndCallMs"] = sum(after)-sum(before), process, call
	return append(figures, links...), fact, nil
}

// linksGo measures how long links outlive their DEL while pairs come and go, and whether they pile up.
func (b *benchmark) linksGo(parallel int, where string) ([]figure, map[string]any, error) {
	if _, err := b.warm(b.pairs + b.margin); err != nil {
		return nil, nil, err
	}
	var ours, peer []time.Duration
	var backlog []int
	for range rounds {
		gone, pending, err := b.churn(b.ours, max(1, b.pairs/rounds), parallel)
		if err != nil {
			return nil, nil, err
		}
		ours, backlog = append(ours, gone...), append(backlog, pending)
	}
	settled, err := b.settled()
	if err != nil {
		return nil, nil, err
	}
	if err := steady(backlog, parallel); err != nil {
		return nil, nil, err
	}
	if peer, _, err = b.churn(b.peer, len(ours), parallel); err != nil {
		return nil, nil, err
	}
	b.ours.meter.take()
	b.peer.meter.take()
	fact := map[string]any{"pendingLinksAfterRounds": backlog, "secondsUntilNoPending": round(settled.Seconds())}
	return []figure{
		compare("link gone after DEL p50, "+where, milliseconds(ours), milliseconds(peer), 0.5),
		compare("link gone after DEL p99, "+where, milliseconds(ours), milliseconds(peer), 0.99),
	}, fact, nil
}
