package main

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// departure is a host link whose pod was deleted.
type departure struct {
	host     string
	answered time.Time
}

// rounds of a run that churns: what one leaves behind shows in the next.
const rounds = 5

// churn runs n pairs of one side as a runtime does: each namespace goes right after its DEL, and the next pair waits for
// nothing. It answers how long after each DEL the kernel no longer has the link, and how many links the daemon still had to
// delete when the last pair had ended.
func (b *benchmark) churn(s *side, n, parallel int) (gone []time.Duration, pending int, err error) {
	namespaces := make([]*netns, n)
	next, left := make(chan func() error, n), make(chan departure, n)
	for i := range n {
		ns, rt, err := b.container()
		if err != nil {
			return nil, 0, err
		}
		namespaces[i] = ns
		next <- func() error {
			_, host, err := s.once(rt)
			if err == nil && host == "" {
				err = fmt.Errorf("%s ADD: the result names no link of the host", s.name)
			}
			left <- departure{host, time.Now()}
			return errors.Join(err, ns.remove())
		}
	}
	close(next)
	var group sync.WaitGroup
	errs := make([]error, parallel)
	for worker := range parallel {
		group.Add(1)
		go func() {
			defer group.Done()
			for job := range next {
				errs[worker] = errors.Join(errs[worker], job())
			}
		}()
	}
	counted := make(chan error, 1)
	go func() {
		group.Wait()
		state, err := b.state()
		pending = state.PendingLinks
		counted <- err
	}()
	gone, err = b.departures(s, left, n)
	err = errors.Join(err, <-counted, errors.Join(errs...))
	for _, ns := range namespaces {
		err = errors.Join(err, ns.remove())
	}
	return gone, pending, err
}

// departures waits for n links to vanish.
func (b *benchmark) departures(s *side, left <-chan departure, n int) (gone []time.Duration, err error) {
	var standing []departure
	for last := time.Now(); len(gone) < n; time.Sleep(500 * time.Microsecond) {
		for more := true; more; {
			select {
			case d := <-left:
				standing, last = append(standing, d), time.Now()
			default:
				more = false
			}
		}
		still := standing[:0]
		for _, d := range standing {
			if d.host != "" && linkExists(b.probe, d.host) {
				still = append(still, d)
			} else {
				gone = append(gone, time.Since(d.answered))
			}
		}
		standing = still
		if time.Since(last) > 2*time.Minute {
			return gone, fmt.Errorf("%s: %d of %d links are not gone, 2 minutes after the last DEL", s.name, n-len(gone), n)
		}
	}
	return gone, nil
}

// steady fails when the backlog grows from round to round by more than what chance does.
func steady(backlog []int, parallel int) error {
	if n := len(backlog); n > 1 && backlog[n-1] > backlog[0]+max(8, 2*parallel) {
		return fmt.Errorf("links wait for their deletion in growing numbers, at the ends of the rounds: %v", backlog)
	}
	return nil
}
