// Command schedbench measures a real kube-scheduler with and without an extender, against nodes that are only objects.
//
//	schedbench nodes  -n 1000 [-rich 25]      nodes with their NodeNetworks; -rich: only so many have addresses
//	schedbench pods   -n 2000 [-bound 5000]   pods; -bound: spread over so many nodes already
//	schedbench follow -n 2000 -pids 12,34     waits until so many pods are bound; times and CPU from first to last bind
//	schedbench stir   -for 20s                ten changes of nodes a second
//	schedbench cpu    -pids 12,34 -for 20s    CPU of processes over a time
//	schedbench wipe   [-nodes]                deletes pods (and nodes)
//	schedbench noop   -listen ADDRESS [-keep 64]
//	schedbench report -rows FILE -out FILE    ratios with intervals, as a table and as JSON
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// namespace of all pods.
const namespace = "bench"

var (
	flags      = flag.NewFlagSet("schedbench", flag.ExitOnError)
	kubeconfig = flags.String("kubeconfig", "", "kubeconfig")
	count      = flags.Int("n", 1000, "number of objects")
	workers    = flags.Int("workers", 32, "calls on their way")
	rich       = flags.Int("rich", -1, "nodes: so many have addresses (default all)")
	each       = flags.Int("each", 110, "nodes: addresses of each rich node")
	bound      = flags.Int("bound", 0, "pods: spread over so many nodes already")
	onHost     = flags.Bool("host", false, "pods: on the host's network")
	prefix     = flags.String("prefix", "pod", "pods: how their names begin")
	nodesToo   = flags.Bool("nodes", false, "wipe: nodes too")
	listen     = flags.String("listen", "127.0.0.1:9843", "noop: address")
	keep       = flags.Int("keep", 0, "noop: filter returns at most this many nodes (0: all)")
	pids       = flags.String("pids", "", "processes whose CPU is counted: scheduler,extender")
	span       = flags.Duration("for", 20*time.Second, "cpu, stir: how long")
	rows       = flags.String("rows", "", "report: file of rows")
	out        = flags.String("out", "", "report: file to write")
	limit      = flags.Duration("limit", 10*time.Minute, "time limit")
)

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	verbs := map[string]func(context.Context){
		"nodes": makeNodes, "pods": makePods, "follow": follow, "cpu": cpuOver, "stir": stir, "wipe": wipe, "noop": noop, "report": report,
	}
	if len(os.Args) < 2 || verbs[os.Args[1]] == nil {
		log.Fatal("usage: schedbench nodes|pods|follow|cpu|stir|wipe|noop|report [flags]; the comment at the top of main.go says more")
	}
	flags.Parse(os.Args[2:])
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	verbs[os.Args[1]](ctx)
}

func config() *rest.Config {
	c, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	c.QPS, c.Burst = 5000, 5000
	return c
}

// client speaks protobuf: it must not be what is measured.
func client() kubernetes.Interface {
	c := config()
	c.ContentType = "application/vnd.kubernetes.protobuf"
	c.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	return kubernetes.NewForConfigOrDie(c)
}

func networks() dynamic.NamespaceableResourceInterface {
	return dynamic.NewForConfigOrDie(config()).Resource(nodeNetworks)
}

func parallel(n int, f func(i int) error) {
	var all sync.WaitGroup
	next := make(chan int)
	for range *workers {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := range next {
				if err := f(i); err != nil {
					log.Fatal(err)
				}
			}
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}
