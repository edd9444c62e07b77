package sandbox

// supervise puts the filter of the tier on the calling thread and answers the
// calls that it catches until the function that it returns is called.
func (o order) supervise() (func(), error) {
	_, err := install(syncRules(), false)
	return func() {}, err
}
