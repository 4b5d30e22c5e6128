package policy

import "encoding/json"

// noted are the paths of the leaves that were looked at.
type noted map[string]bool

// watch is the input with leaves that tell when they are looked at: a lazy
// input converts what a policy wants of it, and nothing else. What has to be
// converted at once counts as looked at.
func (n noted) watch(members map[string]any, below string) map[string]any {
	out := make(map[string]any, len(members))
	for name, member := range members {
		path := below + name
		switch member := member.(type) {
		case map[string]any:
			out[name] = n.watch(member, path+separates)
		case nil, bool, string, int, int64, float64, []any, []string, map[string]string:
			out[name] = watched{member, path, n}
		default:
			n[path], out[name] = true, member
		}
	}
	return out
}

// A watched leaf is converted by its JSON.
type watched struct {
	value any
	path  string
	noted noted
}

// MarshalJSON implements json.Marshaler.
func (w watched) MarshalJSON() ([]byte, error) {
	w.noted[w.path] = true
	return json.Marshal(w.value)
}

// look is the value behind a leaf, which may be watched.
func look(v any) any {
	if w, ok := v.(watched); ok {
		w.noted[w.path] = true
		return w.value
	}
	return v
}
