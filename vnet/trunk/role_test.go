package trunk

// roleVariable has this test's program run as one host of several.
const roleVariable = "ORE_TRUNK_TEST_ROLE"

func play(string) error { return nil }
