package sim

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"slices"
	"sort"
	"sync"
)

// uploadBook holds multipart uploads of R2 bindings until they are completed. They live in memory only.
type uploadBook struct {
	writing sync.Mutex // held while a put looks and writes

	mu  sync.Mutex
	all map[uploadKey]*partUpload
}

type uploadKey struct{ account, jurisdiction, bucket, object, id string }

type partUpload struct {
	object object
	parts  map[int]uploadedPart
}

type uploadedPart struct {
	etag    string
	content []byte
}

// r2Part names a part in the completion of an upload.
type r2Part struct {
	ETag string `json:"etag"`
	Part int    `json:"part"`
}

// smallestR2Part is the least size of every part but the last.
const smallestR2Part = 5 << 20

// multipart answers the four methods of a multipart upload.
func (g *gateway) multipart(ctx context.Context, bucket *bucket, b bindingEnd, q r2Request, content []byte) (any, error) {
	u := &g.uploads
	key := uploadKey{b.account, b.jurisdiction, b.resource, q.Object, q.UploadID}
	u.mu.Lock()
	defer u.mu.Unlock()
	if q.Method == "createMultipartUpload" {
		o, err := q.newObject()
		if err != nil {
			return nil, err
		}
		var id [16]byte
		g.e.w.fill(id[:])
		key.id = hex.EncodeToString(id[:])
		if u.all == nil {
			u.all = map[uploadKey]*partUpload{}
		}
		u.all[key] = &partUpload{object: o, parts: map[int]uploadedPart{}}
		return map[string]any{"uploadId": key.id}, nil
	}
	up := u.all[key]
	if up == nil {
		return nil, errNoSuchUpload
	}
	switch q.Method {
	case "uploadPart":
		sum := md5.Sum(content)
		part := uploadedPart{etag: hex.EncodeToString(sum[:]), content: content}
		up.parts[q.PartNumber] = part
		return map[string]any{"etag": part.etag}, nil
	case "completeMultipartUpload":
		whole, err := up.assemble(q.Parts)
		if err != nil {
			return nil, err
		}
		stored, err := bucket.Put(ctx, up.object, whole)
		if err != nil {
			return nil, err
		}
		delete(u.all, key)
		return newR2Object(stored), nil
	}
	delete(u.all, key) // abortMultipartUpload
	return nil, nil
}

// assemble puts the chosen parts together in the order of their numbers. All but the last have one size.
func (up *partUpload) assemble(chosen []r2Part) ([]byte, error) {
	chosen = slices.Clone(chosen)
	sort.Slice(chosen, func(i, j int) bool { return chosen[i].Part < chosen[j].Part })
	var whole []byte
	for i, c := range chosen {
		part, ok := up.parts[c.Part]
		if !ok || part.etag != c.ETag || i > 0 && chosen[i-1].Part == c.Part {
			return nil, errInvalidPart
		}
		size, first := len(part.content), len(up.parts[chosen[0].Part].content)
		last := i == len(chosen)-1
		switch {
		case !last && size < smallestR2Part:
			return nil, errPartTooSmall
		case size > first, !last && size != first:
			return nil, errUnevenParts
		}
		whole = append(whole, part.content...)
	}
	return whole, nil
}
