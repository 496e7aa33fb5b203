// Command libcni-judge drives the plugin through libcni, the library that container runtimes use.
//
//	libcni-judge judge -bin DIR -socket PATH -tickets DIR [-real]
//	libcni-judge bench -bin DIR -conflist FILE [...]
//
// judge walks through ADD, CHECK, DEL, GC, STATUS and VERSION and prints "N passed, M failed". bench measures ADD+DEL as
// whole processes, ours and ptp+host-local in turns.
package main

import (
	"fmt"
	"os"
)

func main() {
	modes := map[string]func([]string) error{"judge": judge, "bench": bench}
	if len(os.Args) < 2 || modes[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: libcni-judge judge|bench [flags]; -h after the mode lists them")
		os.Exit(2)
	}
	if err := modes[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "libcni-judge:", err)
		os.Exit(1)
	}
}
