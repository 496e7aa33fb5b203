package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// idleLook is the only call that a daemon with nothing to do makes: every two minutes it compares its books with the cloud.
const idleLook = "DescribeNetworkInterfaces"

// errLooked says that an idle look fell into a run; it may be repeated.
var errLooked = errors.New("an idle look at the cloud fell into the timed part")

// cloudCalls counts the calls that reached the lab, by action: the cloud's own word, whoever called.
func (b *benchmark) cloudCalls() (map[string]int, error) {
	words := strings.Fields(b.ledger)
	if len(words) == 0 {
		return nil, nil
	}
	text, err := exec.Command(words[0], words[1:]...).Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.ledger, err)
	}
	var ledger struct {
		Counts []struct {
			Action string
			Calls  int
		}
	}
	if err := json.Unmarshal(text, &ledger); err != nil {
		return nil, err
	}
	calls := map[string]int{}
	for _, count := range ledger.Counts {
		calls[count.Action] += count.Calls
	}
	return calls, nil
}

// untouched fails when the cloud was called between two counts.
func untouched(before, after map[string]int) error {
	var found []string
	idle := true
	for action, calls := range after {
		if more := calls - before[action]; more != 0 {
			found = append(found, fmt.Sprintf("%s %d times", action, more))
			idle = idle && action == idleLook && more == 1
		}
	}
	switch {
	case len(found) == 0:
		return nil
	case idle:
		return errLooked
	default:
		return fmt.Errorf("the cloud was called in the timed part (%s): take higher watermarks or a larger instance type", strings.Join(found, ", "))
	}
}
