package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"strconv"

	ext "k8s.io/kube-scheduler/extender/v1"
)

// noop is an extender that decides nothing: what the protocol itself costs. It decodes whole requests, as most extenders do.
func noop(context.Context) {
	next := 0 // filter calls come one at a time
	filter := func(args ext.ExtenderArgs) any {
		if args.NodeNames == nil {
			return ext.ExtenderFilterResult{Error: "nodeCacheCapable is needed"}
		}
		names := *args.NodeNames
		if *keep <= 0 || len(names) <= *keep {
			return ext.ExtenderFilterResult{NodeNames: &names}
		}
		kept := make([]string, 0, *keep) // a window that moves on, so that load spreads
		for i := range *keep {
			kept = append(kept, names[(next+i)%len(names)])
		}
		next += *keep
		return ext.ExtenderFilterResult{NodeNames: &kept}
	}
	prioritize := func(args ext.ExtenderArgs) any {
		var list ext.HostPriorityList
		if args.NodeNames != nil {
			for _, name := range *args.NodeNames {
				list = append(list, ext.HostPriority{Host: name})
			}
		}
		return list
	}
	serve := func(verb string, answer func(ext.ExtenderArgs) any) {
		http.HandleFunc("/"+verb, func(w http.ResponseWriter, r *http.Request) {
			var args ext.ExtenderArgs
			body, err := io.ReadAll(r.Body)
			if err == nil {
				err = json.Unmarshal(body, &args)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			text, err := json.Marshal(answer(args))
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", strconv.Itoa(len(text)))
			w.Write(text)
		})
	}
	serve("filter", filter)
	serve("prioritize", prioritize)
	log.Fatal(http.ListenAndServe(*listen, nil))
}
